// SPDX-License-Identifier: MIT
// Answers each request with what it was, as JSON. Change `greeting`, commit, push: that is a deploy.
'use strict';

const http = require('http');

const greeting = 'Hello from echo';

http
  .createServer((request, response) => {
    if (request.url.split('?')[0] === '/health') {
      response.end('well\n');
      return;
    }
    const answer = {
      greeting,
      version: (process.env.SOURCE_VERSION || 'unknown').slice(0, 7),
      service: process.env.ORDERS_NAME || 'echo',
      ship: process.env.SHIP_NAME || '',
      motto: process.env.MOTTO || '',
      method: request.method,
      url: request.url,
      headers: request.headers,
    };
    response.setHeader('Content-Type', 'application/json; charset=utf-8');
    response.end(JSON.stringify(answer, null, 2) + '\n');
  })
  .listen(process.env.PORT, () => console.log(`echo listens on ${process.env.PORT}`));
