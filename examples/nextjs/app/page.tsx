import { Header } from "@/components/header";
import { TaskList } from "@/components/task-list";
import { createApi, failureOf } from "@/lib/api";
import { auth } from "@/lib/auth";
import { listTasks, readFilters, type Filters } from "@/lib/tasks";
import { headers } from "next/headers";
import { redirect } from "next/navigation";
import { Suspense } from "react";

type Props = { searchParams: Promise<Record<string, string>> };

export default async function Page({ searchParams }: Props) {
  const session = await auth.api.getSession({ headers: await headers() });
  if (!session) redirect("/sign-in");
  const filters = readFilters(new URLSearchParams(await searchParams));
  return (
    <>
      <Header name={session.user.name} />
      <main className="column">
        <h1>Tasks</h1>
        <Suspense fallback={<Loading />}>
          <LoadedTasks email={session.user.email} filters={filters} />
        </Suspense>
      </main>
    </>
  );
}

/** The first page of the list, fetched by this server, so that it arrives with the page. */
async function LoadedTasks({ email, filters }: { email: string; filters: Filters }) {
  const backend = process.env.BACKEND_URL ?? "http://localhost:8000";
  const requestHeaders = await headers();
  const api = createApi(backend, async () => {
    const { token } = await auth.api.getToken({ headers: requestHeaders });
    return token;
  });
  const page = await listTasks(api, filters).catch((error: unknown) => failureOf(error));
  return (
    <TaskList
      backend={process.env.BACKEND_PUBLIC_URL ?? backend}
      email={email}
      filters={filters}
      {...("tasks" in page ? { page } : { page: { tasks: [] }, failure: page })}
    />
  );
}

function Loading() {
  return (
    <div className="card skeleton" role="status" aria-label="Loading tasks">
      <i /> <i /> <i />
    </div>
  );
}
