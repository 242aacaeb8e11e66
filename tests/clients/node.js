// Asks the requests on standard input, one after the other on one connection: node node.js http|fetch|http2 HOST PORT
const [kind, host, port] = process.argv.slice(2);
const read = () => new Promise(done => {
  const parts = [];
  process.stdin.on('data', part => parts.push(part));
  process.stdin.on('end', () => done(JSON.parse(Buffer.concat(parts))));
});
const told = (status, body) => [status, body.length < 100 ? body.toString('latin1') : body.length];

const byHttp = () => {
  const http = require('http');
  const agent = new http.Agent({keepAlive: true, maxSockets: 1});
  const ask = request => new Promise((done, failed) => {
    const headers = {...request.headers};
    if (request.upload !== null && !request.chunked) headers['content-length'] = request.upload;
    const out = http.request({host, port, method: request.method, path: request.path, agent, headers}, response => {
      const parts = [];
      response.on('error', failed);
      response.on('data', part => parts.push(part));
      response.on('end', () => {
        const location = request.follow && response.headers.location;
        if (location) done(ask({...request, path: new URL(location, `http://${host}:${port}`).pathname}));
        else done(told(response.statusCode, Buffer.concat(parts)));
      });
    });
    out.on('error', failed);
    const body = request.upload === null ? undefined : Buffer.alloc(request.upload);
    if (headers.Expect) { out.flushHeaders(); out.on('continue', () => out.end(body)); out.on('response', () => out.end()); }
    else if (request.chunked) { for (let at = 0; at < body.length; at += 65536) out.write(body.subarray(at, at + 65536)); out.end(); }
    else out.end(body);
  });
  return {ask, end: () => agent.destroy()};
};

const byFetch = () => ({
  ask: async request => {
    let body = request.upload === null ? undefined : Buffer.alloc(request.upload);
    if (request.chunked) body = new Blob([body]).stream();
    const response = await fetch(`http://${host}:${port}${request.path}`, {
      method: request.method, body, duplex: 'half', redirect: request.follow ? 'follow' : 'manual', headers: request.headers});
    return told(response.status, Buffer.from(await response.arrayBuffer()));
  },
  end: () => {},
});

const byHttp2 = () => {
  const session = require('http2').connect(`https://${host}:${port}`, {rejectUnauthorized: false});
  const broken = new Promise((_, failed) => session.on('error', failed));
  const ask = request => Promise.race([broken, new Promise((done, failed) => {
    const headers = {':method': request.method, ':path': request.path, ...request.headers};
    if (request.upload !== null && !request.chunked) headers['content-length'] = request.upload;
    const stream = session.request(headers, {endStream: request.upload === null});
    const parts = [];
    let head;
    stream.on('response', found => { head = found; });
    stream.on('data', part => parts.push(part));
    stream.on('error', failed);
    stream.on('end', () => {
      if (!head) return failed(new Error('no answer'));
      if (request.follow && head.location) return done(ask({...request, path: head.location}));
      done(told(head[':status'], Buffer.concat(parts)));
    });
    if (request.upload !== null) stream.end(Buffer.alloc(request.upload));
  })]);
  return {ask, end: () => session.close()};
};

(async () => {
  const client = {http: byHttp, fetch: byFetch, http2: byHttp2}[kind]();
  const answers = [];
  for (const request of await read()) answers.push(await client.ask(request));
  console.log(JSON.stringify(answers));
  client.end();
  if (kind === 'fetch') process.exit(0);
})().catch(error => { console.error(error.cause ? `${error.message}: ${error.cause.message}` : error.message); process.exit(1); });
