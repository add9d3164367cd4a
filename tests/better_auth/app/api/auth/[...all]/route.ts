import { toNextJsHandler } from "better-auth/next-js";
import { auth } from "../../../../lib/stock.ts";

export const { GET, POST } = toNextJsHandler(auth);
