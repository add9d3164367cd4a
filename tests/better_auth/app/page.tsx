import { Tasks } from "./tasks.tsx";

// The address is read when the page is asked for, not when it is built.
export const dynamic = "force-dynamic";

export default async function Page({
  searchParams,
}: {
  searchParams: Promise<{ backend?: string }>;
}) {
  const { backend } = await searchParams;
  // Straight to the backend (CORS), or through the rewrite of next.config.ts.
  const api = backend === "rewritten" ? "/backend" : `${process.env.BACKEND_URL}/api`;
  return <Tasks api={api} />;
}
