import { Readable } from 'node:stream';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ReadableStream as NodeReadableStream } from 'node:stream/web';
import type { Plugin } from 'vite';
import { createMockApi, isApiPath } from './server';

/** The policy that the platform serves the console under; `vite preview` applies it so that a violation shows early. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

type Next = (error?: unknown) => void;

function middleware() {
  const api = createMockApi();
  return (incoming: IncomingMessage, outgoing: ServerResponse, next: Next) => {
    const url = new URL(incoming.url ?? '/', `http://${incoming.headers.host ?? 'localhost'}`);
    if (!isApiPath(url.pathname)) {
      next();
      return;
    }
    const headers = new Headers();
    for (const [name, value] of Object.entries(incoming.headers))
      headers.set(name, Array.isArray(value) ? value.join(', ') : (value ?? ''));
    const hasBody = incoming.method !== 'GET' && incoming.method !== 'HEAD';
    const request = new Request(url, {
      method: incoming.method ?? 'GET',
      headers,
      ...(hasBody ? { body: Readable.toWeb(incoming) as unknown as ReadableStream, duplex: 'half' } : {}),
    });
    api
      .handle(request)
      .then((response) => {
        outgoing.writeHead(response.status, Object.fromEntries(response.headers));
        if (!response.body) outgoing.end();
        else
          Readable.fromWeb(response.body as NodeReadableStream)
            .on('error', () => outgoing.destroy())
            .pipe(outgoing);
      })
      .catch(next);
  };
}

/** Serves the mock API on the origin of `vite` and of `vite preview`. */
export function mockApiPlugin(): Plugin {
  return {
    name: 'craton-mock-api',
    configureServer(server) {
      server.middlewares.use(middleware());
    },
    configurePreviewServer(server) {
      server.middlewares.use((_request: IncomingMessage, response: ServerResponse, next: Next) => {
        response.setHeader('content-security-policy', CONTENT_SECURITY_POLICY);
        next();
      });
      server.middlewares.use(middleware());
    },
  };
}
