// What the front end's server asks the to-do backend on behalf of somebody who signs up or in.
import type { GenericEndpointContext } from "better-auth";
import { APIError } from "better-auth/api";

/** The members that a user of Better Auth has beyond its own: the account at the backend. */
export const backendFields = {
  // Without `input: false` anybody could send them at sign-up, and be somebody else.
  backendId: { type: "string", required: false, unique: true, input: false },
  backendEmail: { type: "string", required: false, input: false },
} as const;

/**
 * For `databaseHooks.user.create.before`: makes the account at the backend first.
 *
 * Whatever goes wrong then, a second try finds the account there (409) and takes it over, if the
 * password is the same. Who signs up without a password (with Google, say) has no `backendId`:
 * the backend makes that account by itself, at the first request.
 */
export async function createAtBackend(
  user: { email: string },
  context: GenericEndpointContext | null,
) {
  if (context?.path !== "/sign-up/email") return;
  const { password } = context.body as { password: string };
  let answer = await ask("signup", user.email, password, context.headers);
  if (answer.status === 409) {
    answer = await ask("login", user.email, password, context.headers);
    if (answer.status === 401) {
      throw new APIError("UNPROCESSABLE_ENTITY", {
        code: "USER_ALREADY_EXISTS",
        message: "There is an account with this e-mail address, and its password is another.",
      });
    }
  }
  if (!answer.ok) await refuse(answer);
  const account = (await answer.json()) as { id: number; email: string };
  return { data: { backendId: String(account.id), backendEmail: account.email } };
}

/**
 * Tells whether the backend takes the password; throws an APIError when it cannot tell.
 *
 * `headers` are those of the request to sign in.
 */
export async function passwordIsRight(
  email: string,
  password: string,
  headers: HeadersInit | undefined,
): Promise<boolean> {
  const answer = await ask("login", email, password, headers);
  if (!answer.ok && answer.status !== 401) await refuse(answer);
  return answer.ok;
}

async function ask(
  path: "signup" | "login",
  email: string,
  password: string,
  headers: HeadersInit | undefined,
): Promise<Response> {
  // All of these requests come from this server: the backend limits attempts by the caller's own
  // address, so it has to be passed on.
  const address = new Headers(headers).get("x-forwarded-for");
  try {
    return await fetch(`${process.env.BACKEND_URL}/api/auth/${path}`, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        ...(address ? { "X-Forwarded-For": address } : {}),
      },
      body: JSON.stringify({ email, password }),
      signal: AbortSignal.timeout(10_000),
    });
  } catch {
    throw unavailable();
  }
}

/** Passes the backend's refusal (RFC 9457) on in Better Auth's words. */
async function refuse(answer: Response): Promise<never> {
  const retryAfter = answer.headers.get("retry-after") ?? "5";
  if (answer.status === 429) {
    throw new APIError(
      "TOO_MANY_REQUESTS",
      { code: "TOO_MANY_ATTEMPTS", message: "Too many attempts: try again later." },
      { "Retry-After": retryAfter },
    );
  }
  if (answer.status !== 400) throw unavailable(retryAfter);
  const problem = (await answer.json()) as { errors: { field: string; message: string }[] };
  throw new APIError("BAD_REQUEST", {
    code: "REFUSED_BY_BACKEND",
    message: problem.errors.map((error) => error.message).join(". "),
  });
}

function unavailable(retryAfter = "5"): APIError {
  return new APIError(
    "SERVICE_UNAVAILABLE",
    { code: "BACKEND_UNAVAILABLE", message: "Accounts cannot be reached: try again shortly." },
    { "Retry-After": retryAfter },
  );
}
