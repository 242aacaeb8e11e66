"""HTTP/3: datagrams and connections by code of ours around aioquic, requests by Hypercorn's streams."""
