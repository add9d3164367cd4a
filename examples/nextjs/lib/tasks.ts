// What the list shows, as it stands in the page's address and in requests to the service.
import { unwrap, type Api, type Task } from "./api.ts";

export const STATUSES = { all: "All", pending: "Open", completed: "Completed" } as const;

export const SORTS = {
  newest: { label: "Newest first", query: { sort: "created_at", order: "desc" } },
  oldest: { label: "Oldest first", query: { sort: "created_at", order: "asc" } },
  changed: { label: "Last changed", query: { sort: "updated_at", order: "desc" } },
  title: { label: "Title", query: { sort: "title", order: "asc" } },
} as const;

export type Filters = {
  status: keyof typeof STATUSES;
  sort: keyof typeof SORTS;
  search: string;
};

export type Page = { tasks: Task[]; next?: string };

const PAGE_SIZE = 50;

/** Read the filters from the address of the page; ignore what is unknown there. */
export function readFilters(params: URLSearchParams): Filters {
  const status = params.get("status") ?? "";
  const sort = params.get("sort") ?? "";
  return {
    status: Object.hasOwn(STATUSES, status) ? (status as Filters["status"]) : "all",
    sort: Object.hasOwn(SORTS, sort) ? (sort as Filters["sort"]) : "newest",
    search: params.get("search") ?? "",
  };
}

/** Return the address of the page that shows this. */
export function addressOf({ status, sort, search }: Filters): string {
  const params = new URLSearchParams();
  if (status !== "all") params.set("status", status);
  if (sort !== "newest") params.set("sort", sort);
  if (search) params.set("search", search);
  return params.size ? `/?${params}` : "/";
}

/** Fetch one page of the list; `cursor` is the `next` of the page before. */
export async function listTasks(
  api: Api,
  { status, sort, search }: Filters,
  cursor?: string,
  signal?: AbortSignal,
): Promise<Page> {
  const query = { status, search, limit: PAGE_SIZE, ...SORTS[sort].query, ...(cursor && { cursor }) };
  const { data, response } = await unwrap(
    api.GET("/api/{user_id}/tasks", { params: { path: { user_id: "me" }, query }, signal }),
  );
  return { tasks: data, next: nextCursor(response.headers.get("Link")) };
}

/** Read the cursor from `Link: <…?cursor=…>; rel="next"`. */
function nextCursor(link: string | null): string | undefined {
  const target = link?.match(/<([^>]*)>;\s*rel="?next"?/)?.[1];
  return target && (new URL(target, "http://any").searchParams.get("cursor") ?? undefined);
}
