// Your own database stands here: https://www.better-auth.com/docs/concepts/database
import { memoryAdapter } from "better-auth/adapters/memory";

export const database = memoryAdapter({
  user: [],
  session: [],
  account: [],
  verification: [],
  jwks: [],
});
