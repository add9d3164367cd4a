import { authClient } from "./auth-client";

/** How long before its end a token is replaced. */
const MARGIN_MS = 60_000;

let kept: { token: string; renewAt: number } | undefined;
let pending: Promise<string> | undefined;

/** Return a token for the service, the same one until shortly before it expires. */
export function getToken(renew = false): Promise<string> {
  if (!renew && kept && Date.now() < kept.renewAt) return Promise.resolve(kept.token);
  // Requests that start together share one call.
  pending ??= fetchToken().finally(() => (pending = undefined));
  return pending;
}

async function fetchToken(): Promise<string> {
  const { data, error } = await authClient.token();
  if (error?.status === 401) {
    // The page asks for a sign-in where there is no session.
    window.location.assign("/");
    throw new Error("Your session is over. Sign in again.");
  }
  if (error) throw new Error("No token could be fetched. Try again shortly.");
  const { exp, iat } = payloadOf(data.token);
  // By the token's lifetime and not its end, so that a wrong clock on this device does no harm.
  kept = { token: data.token, renewAt: Date.now() + (exp - iat) * 1000 - MARGIN_MS };
  return data.token;
}

function payloadOf(token: string): { exp: number; iat: number } {
  return JSON.parse(atob(token.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/")));
}
