// Serves one set-up, named on the command line, as Next.js would: on the socket that it is handed.
import { createServer } from "node:http";
import { toNodeHandler } from "better-auth/node";

const { auth } = await import(`./${process.argv[2]}.js`);
createServer(toNodeHandler(auth)).listen({ fd: Number(process.env.LISTEN_FD) });
