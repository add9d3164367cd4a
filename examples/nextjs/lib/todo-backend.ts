// Requests that the front end's server sends to the to-do service.
import type { GenericEndpointContext } from "better-auth";
import { APIError } from "better-auth/api";

/** Additional fields of a Better Auth user: the account at the service (set-ups B and C). */
export const backendFields = {
  // Without `input: false` anyone could send them at sign-up and become somebody else.
  backendId: { type: "string", required: false, unique: true, input: false },
  backendEmail: { type: "string", required: false, input: false },
} as const;

/**
 * Create the account at the service, as `databaseHooks.user.create.before` (set-ups B and C).
 *
 * If sign-up fails after that, a second attempt gets 409 and takes the account over, if the password
 * is the same. A user who signs up without a password (with Google, say) has no `backendId`: the
 * service creates that account at the first request.
 */
export async function createAtBackend(
  user: { email: string },
  context: GenericEndpointContext | null,
) {
  if (context?.path !== "/sign-up/email") return;
  const { password } = context.body as { password: string };
  let response = await post("signup", user.email, password, context.headers);
  if (response.status === 409) {
    response = await post("login", user.email, password, context.headers);
    if (response.status === 401) {
      throw new APIError("UNPROCESSABLE_ENTITY", {
        code: "USER_ALREADY_EXISTS",
        message: "There is an account with this e-mail address and another password.",
      });
    }
  }
  if (!response.ok) throw await refusal(response);
  const account = (await response.json()) as { id: number; email: string };
  return { data: { backendId: String(account.id), backendEmail: account.email } };
}

/**
 * Return the id of the account whose address and password these are (set-up C), or undefined.
 *
 * Throw an APIError if the service cannot tell.
 */
export async function logIn(
  email: string,
  password: string,
  headers: HeadersInit | undefined,
): Promise<string | undefined> {
  const response = await post("login", email, password, headers);
  if (response.status === 401) return undefined;
  if (!response.ok) throw await refusal(response);
  return String(((await response.json()) as { id: number }).id);
}

/** Delete the account and its tasks at the service, before Better Auth deletes the user. */
export async function deleteAccount(token: string): Promise<void> {
  const response = await send("me", {
    method: "DELETE",
    headers: { Authorization: `Bearer ${token}` },
  });
  // 404: an earlier attempt deleted it.
  if (!response.ok && response.status !== 404) throw unavailable();
}

function post(
  path: "signup" | "login",
  email: string,
  password: string,
  headers: HeadersInit | undefined,
): Promise<Response> {
  // These requests come from this server, but the service limits attempts per client address:
  // pass the visitor's address on.
  const address = new Headers(headers).get("x-forwarded-for");
  return send(path, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      ...(address ? { "X-Forwarded-For": address } : {}),
    },
    body: JSON.stringify({ email, password }),
  });
}

async function send(path: string, init: RequestInit): Promise<Response> {
  const signal = AbortSignal.timeout(10_000);
  try {
    return await fetch(`${process.env.BACKEND_URL}/api/auth/${path}`, { ...init, signal });
  } catch {
    throw unavailable();
  }
}

/** Translate the service's refusal (RFC 9457) into Better Auth's error. */
async function refusal(response: Response): Promise<APIError> {
  const retryAfter = response.headers.get("retry-after") ?? "5";
  if (response.status === 429) {
    return new APIError(
      "TOO_MANY_REQUESTS",
      { code: "TOO_MANY_ATTEMPTS", message: "Too many attempts: try again later." },
      { "Retry-After": retryAfter },
    );
  }
  if (response.status !== 400) return unavailable(retryAfter);
  const problem = (await response.json()) as { errors: { field: string; message: string }[] };
  return new APIError("BAD_REQUEST", {
    code: "REFUSED_BY_BACKEND",
    message: problem.errors.map((error) => error.message).join(". "),
  });
}

function unavailable(retryAfter = "5"): APIError {
  return new APIError(
    "SERVICE_UNAVAILABLE",
    { code: "BACKEND_UNAVAILABLE", message: "The to-do service cannot be reached: try again shortly." },
    { "Retry-After": retryAfter },
  );
}
