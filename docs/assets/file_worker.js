// A page that was opened from a file may not start a Worker. This one runs its script in a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      window.addEventListener("message", this.hear = (event) => {
        if (event.source !== inside) return;
        this.onmessage?.(event);
        this.dispatchEvent(new MessageEvent("message", { data: event.data }));
      });
      const run = `
        postMessage = (data) => parent.postMessage(data, "*");
        importScripts = (...urls) => urls.reduce((before, url) => before.then(() => new Promise((done) => {
          const script = document.createElement("script");
          script.src = url; script.onload = done; document.body.append(script);
        })), Promise.resolve());`;
      inside.document.open();
      inside.document.write(`<body><script>${run}<\/script><script src="${url}"><\/script>`);
      inside.document.close();
      // Only now: opening the document takes its listeners away.
      this.ready = new Promise((done) => inside.addEventListener("load", done, { once: true }));
    }
    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      window.removeEventListener("message", this.hear);
      this.frame.remove();
    }
  };
}
