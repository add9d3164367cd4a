// What the list shows, as it stands in the page's address and in requests to the service.
import { unwrap, type Api, type Task } from "./api";

export const STATUSES = { all: "All", pending: "Open", completed: "Completed" } as const;

export const SORTS = {
  newest: { label: "Newest first", query: { sort: "created_at", order: "desc" } },
  oldest: { label: "Oldest first", query: { sort: "created_at", order: "asc" } },
  changed: { label: "Last changed", query: { sort: "updated_at", order: "desc" } },
  due: { label: "Due date", query: { sort: "due_date", order: "asc" } },
  priority: { label: "Priority", query: { sort: "priority", order: "desc" } },
  title: { label: "Title", query: { sort: "title", order: "asc" } },
} as const;

export type Filters = {
  status: keyof typeof STATUSES;
  sort: keyof typeof SORTS;
  search: string;
  tag: string;
};

/** The tasks that are shown, the cursor of the next page, and the tag of this version of them. */
export type Page = { tasks: Task[]; next?: string; etag?: string };

const PAGE_SIZE = 50;

/** The largest `limit` that the service takes. */
export const LARGEST_PAGE = 500;

/** Read the filters from the address of the page; ignore what is unknown there. */
export function readFilters(params: URLSearchParams): Filters {
  const status = params.get("status") ?? "";
  const sort = params.get("sort") ?? "";
  return {
    status: Object.hasOwn(STATUSES, status) ? (status as Filters["status"]) : "all",
    sort: Object.hasOwn(SORTS, sort) ? (sort as Filters["sort"]) : "newest",
    search: params.get("search") ?? "",
    tag: params.get("tag") ?? "",
  };
}

/** Return the address of the page that shows this. */
export function addressOf({ status, sort, search, tag }: Filters): string {
  const params = new URLSearchParams();
  if (status !== "all") params.set("status", status);
  if (sort !== "newest") params.set("sort", sort);
  if (search) params.set("search", search);
  if (tag) params.set("tag", tag);
  return params.size ? `/?${params}` : "/";
}

type Options = {
  /** The `next` of the page before. */
  cursor?: string;
  /** What is shown already: returned again where nothing has changed. */
  known?: Page;
  signal?: AbortSignal;
};

/** Fetch one page of the list, or all that is shown already. */
export async function listTasks(
  api: Api,
  { status, sort, search, tag }: Filters,
  { cursor, known, signal }: Options = {},
): Promise<Page> {
  const limit = Math.max(known?.tasks.length ?? 0, PAGE_SIZE);
  const query = { status, search, tag, limit, ...SORTS[sort].query, ...(cursor && { cursor }) };
  const headers = known?.etag ? { "If-None-Match": known.etag } : {};
  const call = api.GET("/api/{user_id}/tasks", {
    params: { path: { user_id: "me" }, query },
    headers,
    signal,
  });
  if (known && (await call).response.status === 304) return known;
  const { data, response } = await unwrap(call);
  return {
    tasks: data,
    next: nextCursor(response.headers.get("Link")),
    etag: response.headers.get("ETag") ?? undefined,
  };
}

/** Read the cursor from `Link: <…?cursor=…>; rel="next"`. */
function nextCursor(link: string | null): string | undefined {
  const target = link?.match(/<([^>]*)>;\s*rel="?next"?/)?.[1];
  return target && (new URL(target, "http://any").searchParams.get("cursor") ?? undefined);
}
