// Where the console is: at the address that was given, or served from app/dist with the mock API for this run.
export async function withConsole(baseUrl, work) {
  if (baseUrl !== '') return work(new URL(baseUrl).origin);
  const { preview } = await import('vite');
  const server = await preview({ logLevel: 'error', preview: { port: 0, strictPort: false } });
  try {
    const { port } = server.httpServer.address();
    return await work(`http://localhost:${port}`);
  } finally {
    await server.close();
  }
}
