import react from '@vitejs/plugin-react'
import { defineConfig } from 'vitest/config'

// Stable names: the server answers with an ETag, and a merge leaves no orphans behind.
export default defineConfig({
  base: './',
  plugins: [react()],
  build: {
    target: 'es2022',
    sourcemap: false,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 900,
    rolldownOptions: {
      output: {
        entryFileNames: 'assets/[name].js',
        chunkFileNames: 'assets/[name].js',
        assetFileNames: 'assets/[name][extname]',
      },
    },
  },
  worker: { format: 'es', rolldownOptions: { output: { entryFileNames: 'assets/[name].js' } } },
  test: { coverage: { include: ['src/model/**', 'src/io/**'], reporter: ['text'], thresholds: { branches: 95 } } },
  server: {
    proxy: { '/api': { target: 'http://127.0.0.1:8190', ws: true } },
  },
})
