import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

/** Where `npm run dev` finds the server: a local `pysfu serve --dev`. */
const DEV_SERVER = 'http://127.0.0.1:7880';

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: '../control_plane/gateway/static',
    emptyOutDir: true,
    // No data: URLs and no inline scripts, so that a strict Content-Security-Policy holds.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // The media engine is most of the bundle and changes rarely: its own file stays in the browser's cache.
    rolldownOptions: {
      output: {
        codeSplitting: { groups: [{ name: 'livekit', test: /node_modules/ }] },
      },
    },
    chunkSizeWarningLimit: 1200,
  },
  server: {
    proxy: {
      '/api': DEV_SERVER,
      '/settings': DEV_SERVER,
      '/rtc': { target: DEV_SERVER, ws: true },
    },
  },
  test: { include: ['src/**/*.test.ts'] },
});
