import { fileURLToPath } from 'node:url';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';
import { mockApiPlugin } from './mock-api/vite';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/**
 * `vite` and `vite preview` serve the console together with the mock API on one origin, as the platform does, because
 * cookies and passkeys are bound to the origin. The real platform embeds `app/dist` and needs no server of ours.
 */
export default defineConfig({
  root: here('./app'),
  plugins: [react(), mockApiPlugin()],
  resolve: { alias: { '@': here('./app/src') } },
  server: { host: 'localhost', port: 5173, strictPort: true },
  preview: { host: 'localhost', port: 4173, strictPort: true },
  build: {
    outDir: here('./app/dist'),
    emptyOutDir: true,
    target: 'es2022',
    // The console runs under a content security policy without data: or inline sources.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  test: {
    root: here('.'),
    environment: 'jsdom',
    environmentOptions: { jsdom: { url: 'http://localhost:3000/' } },
    include: ['app/src/**/*.test.{ts,tsx}', 'mock-api/**/*.test.ts'],
    setupFiles: [here('./test/setup.ts')],
    css: { modules: { classNameStrategy: 'non-scoped' } },
    testTimeout: 30_000,
    restoreMocks: true,
    unstubGlobals: true,
  },
});
