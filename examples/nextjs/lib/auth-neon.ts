// Set-up N, Neon's managed Better Auth: in place of auth-client.ts. The session is a cookie of Neon's.
import { jwtClient } from "better-auth/client/plugins";
import { createAuthClient } from "better-auth/react";

export const authClient = createAuthClient({
  baseURL: process.env.NEXT_PUBLIC_NEON_AUTH_URL,
  fetchOptions: { credentials: "include" },
  plugins: [jwtClient()],
});
