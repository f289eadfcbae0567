// SPDX-License-Identifier: MIT
// The ship's time: one page, a stream of ticks that feeds it, and /now for scripts. Streams that
// are open while a new version is deployed go on with the old one until its drain is over.
'use strict';

const http = require('http');

const page = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>clock</title>
<style>
  html { color-scheme: dark; background: #0b1021; color: #e8ecff; font: 18px/1.5 system-ui, sans-serif }
  body { display: grid; place-content: center; min-height: 95vh; margin: 0; text-align: center }
  #time { font: 200 min(20vw, 9rem)/1 ui-monospace, monospace; font-variant-numeric: tabular-nums }
  a { color: #8fb4ff }
</style>
<div id="time">--:--:--</div>
<p>ticked by the server, in ${process.env.TZ || 'UTC'} &middot; <a href="now">now</a> &middot; <a href="/">home</a></p>
<script>
  const time = document.getElementById('time');
  new EventSource('ticks').onmessage = tick => { time.textContent = tick.data; };
</script>
</html>
`;

const now = () => new Date().toLocaleTimeString('en-GB');

http
  .createServer((request, response) => {
    switch (request.url.split('?')[0]) {
      case '/':
        response.setHeader('Content-Type', 'text/html; charset=utf-8');
        response.end(page);
        return;
      case '/now':
        response.end(now() + '\n');
        return;
      case '/ticks': {
        response.writeHead(200, { 'Content-Type': 'text/event-stream', 'X-Accel-Buffering': 'no' });
        const tick = () => response.write(`data: ${now()}\n\n`);
        const timer = setInterval(tick, 1000);
        tick();
        response.on('close', () => clearInterval(timer));
        return;
      }
      default:
        response.writeHead(404);
        response.end('not here\n');
    }
  })
  .listen(process.env.PORT);
