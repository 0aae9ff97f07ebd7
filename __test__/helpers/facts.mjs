// A request of node:http as the facts that `guard.check` takes, written with what the documentation
// says alone.

/** `signal` aborts when the client goes away. */
export function factsOfServer(req, res) {
  const headers = []
  for (let i = 0; i < req.rawHeaders.length; i += 2) headers.push([req.rawHeaders[i], req.rawHeaders[i + 1]])
  const gone = new AbortController()
  res.once('close', () => gone.abort())
  const hasBody = req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0
  return {
    method: req.method,
    target: req.url,
    headers,
    address: req.socket.remoteAddress,
    tls: req.socket.encrypted === true,
    body: hasBody ? req : null,
    httpVersion: req.httpVersion,
    truncated: req.rawHeaders.length >= 2000,
    signal: gone.signal
  }
}
