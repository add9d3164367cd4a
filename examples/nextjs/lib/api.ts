// A typed client of the to-do service. `npm run generate` makes schema.ts from its /openapi.json.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

export type Task = components["schemas"]["TaskPublic"];
export type Problem = components["schemas"]["Problem"];
export type Api = ReturnType<typeof createApi>;

/** Return a client that sends a token with each request; after a 401 it gets a new one, once. */
export function createApi(baseUrl: string, getToken: (renew: boolean) => Promise<string>) {
  async function send(request: Request, renew = false) {
    request.headers.set("Authorization", `Bearer ${await getToken(renew)}`);
    return fetch(request);
  }
  return createClient<paths>({
    baseUrl,
    fetch: async (request) => {
      const again = request.clone();
      const response = await send(request);
      return response.status === 401 ? send(again, true) : response;
    },
  });
}

/** A problem document (RFC 9457) as an exception. */
export class ProblemError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }

  /** Return what is wrong with a field of the form, if anything is. */
  field(name: string): string | undefined {
    return this.problem.errors?.find(({ field }) => field === name)?.message;
  }
}

/** Return the data and the response of a call; throw if there is none, or the service refused it. */
export async function unwrap<Data>(
  call: Promise<{ data?: Data; error?: Problem; response: Response }>,
): Promise<{ data: Data; response: Response }> {
  const { data, error, response } = await call;
  // What comes from a proxy before the service is no problem document.
  if (error?.detail) throw new ProblemError(error);
  if (!response.ok) throw new TypeError(`Response ${response.status}`);
  return { data: data as Data, response };
}

/** Something that went wrong, as a page shows it. */
export type Failure = { text: string; isUnverified: boolean };

export function failureOf(error: unknown): Failure {
  // About "me", 403 has one reason: there is an account with the user's address, and the address is not verified.
  const isUnverified = error instanceof ProblemError && error.problem.status === 403;
  return { text: inWords(error), isUnverified };
}

/** Return an error in words for whoever uses the page. */
export function inWords(error: unknown): string {
  // fetch() throws a TypeError when there is no response at all.
  if (error instanceof TypeError) return "The to-do service cannot be reached. Try again shortly.";
  return error instanceof Error ? error.message : String(error);
}
