"use client";

import { Field } from "@/components/field";
import { SearchIcon } from "@/components/icons";
import { ShownTag } from "@/components/task-details";
import { TaskItem } from "@/components/task-item";
import { VerifyButton } from "@/components/verify-button";
import { createApi, failureOf, ProblemError, unwrap, type Failure, type Task } from "@/lib/api";
import {
  addressOf,
  LARGEST_PAGE,
  listTasks,
  SORTS,
  STATUSES,
  type Filters,
  type Page,
} from "@/lib/tasks";
import { getToken } from "@/lib/token";
import { useEffect, useMemo, useRef, useState, type FormEvent } from "react";
import { flushSync } from "react-dom";

type Props = { backend: string; email: string; filters: Filters; page: Page; failure?: Failure };

/** A task that was deleted, where it stood in which list, and the key to create it again with. */
type Deleted = { task: Task; index: number; filters: Filters; key: string };

/** How long a deletion can be undone. */
const UNDO_MS = 10_000;

const ME = { path: { user_id: "me" } };

export function TaskList({ backend, email, ...initial }: Props) {
  const api = useMemo(() => createApi(backend, getToken), [backend]);
  const [filters, setFilters] = useState(initial.filters);
  const [page, setPage] = useState(initial.page);
  const { tasks, next } = page;
  const [busy, setBusy] = useState(false);
  /** What went wrong. */
  const [failure, setFailure] = useState(initial.failure);
  /** What was done, for a screen reader. */
  const [news, setNews] = useState("");
  const [titleError, setTitleError] = useState<string>();
  const [deleted, setDeleted] = useState<Deleted>();
  /** Stays the same until its task is created: an attempt that is repeated creates no second one. */
  const newTaskKey = useRef<string>(undefined);
  const isCreating = useRef(false);
  const loading = useRef<AbortController>(undefined);
  /** Counts what the user does: a refresh that overlaps with it is out of date. */
  const actions = useRef(0);
  const add = useRef<HTMLFormElement>(null);

  const { status, search, tag } = filters;

  const isShown = (task: Task) =>
    (status === "all" || task.completed === (status === "completed")) &&
    (!tag || task.tags.some((each) => each.toLowerCase() === tag.toLowerCase()));

  // What was changed elsewhere is seen as soon as somebody looks.
  useEffect(() => {
    const listening = new AbortController();
    window.addEventListener("focus", refresh, listening);
    document.addEventListener("visibilitychange", refresh, listening);
    return () => listening.abort();
  });

  useEffect(() => {
    const timer = setTimeout(() => setDeleted(undefined), UNDO_MS);
    return () => clearTimeout(timer);
  }, [deleted]);

  /** Fetch what is shown again, if it has changed; leave it as it is if that fails. */
  async function refresh() {
    if (document.hidden || document.querySelector(".editing")) return;
    if (tasks.length > LARGEST_PAGE) return;
    const before = ++actions.current;
    const newest = await listTasks(api, filters, { known: page }).catch(() => page);
    if (newest === page || before !== actions.current) return;
    setPage(newest);
    setFailure(undefined);
  }

  /** Run an action; show what went wrong, if anything did. */
  async function attempt(action: () => Promise<string | void>) {
    actions.current++;
    setBusy(true);
    try {
      const done = await action();
      setFailure(undefined);
      if (done) setNews(done);
    } catch (error) {
      // Only the newest of several searches counts.
      if ((error as Error).name !== "AbortError") setFailure(failureOf(error));
    } finally {
      actions.current++;
      setBusy(false);
    }
  }

  async function load(wanted: Filters) {
    loading.current?.abort();
    loading.current = new AbortController();
    setPage(await listTasks(api, wanted, { signal: loading.current.signal }));
  }

  function show(changes: Partial<Filters>) {
    const wanted = { ...filters, ...changes };
    setFilters(wanted);
    window.history.replaceState(null, "", addressOf(wanted));
    return attempt(() => load(wanted));
  }

  function showMore() {
    return attempt(async () => {
      const more = await listTasks(api, filters, { cursor: next });
      setPage({ tasks: [...tasks, ...more.tasks], next: more.next });
      return `${more.tasks.length} more tasks.`;
    });
  }

  function create(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const input = event.currentTarget.querySelector("input")!;
    const title = input.value;
    if (isCreating.current) return;
    isCreating.current = true;
    newTaskKey.current ??= crypto.randomUUID();
    const headers = { "Idempotency-Key": newTaskKey.current };
    return attempt(async () => {
      setTitleError(undefined);
      try {
        const { data } = await unwrap(
          api.POST("/api/{user_id}/tasks", {
            params: ME,
            body: { title, ...(tag && { tags: [tag] }) },
            headers,
          }),
        );
        // Unless the next title is being written already.
        if (input.value === title) {
          input.value = "";
          newTaskKey.current = undefined;
        }
        if (status === "completed" || search) {
          await show({ status: "all", search: "" });
        } else if (filters.sort === "newest") {
          setPage((page) => ({ ...page, tasks: [data, ...page.tasks] }));
        } else {
          await load(filters);
        }
        return `Added ${data.title}.`;
      } catch (error) {
        const message = error instanceof ProblemError ? error.field("title") : undefined;
        if (!message) throw error;
        setTitleError(message);
        input.focus();
      } finally {
        isCreating.current = false;
      }
    });
  }

  /** Put a changed task in its place, or take it out of the list (null). */
  function replace(id: number, task: Task | null, done: string) {
    setNews(done);
    setFailure(undefined);
    if (task && isShown(task)) {
      setPage((page) => ({
        ...page,
        tasks: page.tasks.map((each) => (each.id === id ? task : each)),
      }));
      return;
    }
    // The focus goes to the task that takes its place, or back to where tasks are added.
    const index = tasks.findIndex((each) => each.id === id);
    const neighbour = tasks[index + 1] ?? tasks[index - 1];
    const successor = neighbour && document.getElementById(`task-${neighbour.id}`);
    (successor ?? add.current!.querySelector("input")!).focus();
    setPage((page) => ({ ...page, tasks: page.tasks.filter((each) => each.id !== id) }));
  }

  /** Offer to undo a deletion. */
  function offerUndo(task: Task) {
    const index = tasks.findIndex(({ id }) => id === task.id);
    setDeleted({ task, index, filters, key: crypto.randomUUID() });
  }

  /** Create the task again, and show it where it was. */
  function undo({ task, index, key, filters: then }: Deleted) {
    return attempt(async () => {
      const { title, description, completed, priority, due_date, tags } = task;
      const { data } = await unwrap(
        api.POST("/api/{user_id}/tasks", {
          params: ME,
          body: { title, description, completed, priority, due_date, tags },
          headers: { "Idempotency-Key": key },
        }),
      );
      setDeleted(undefined);
      if (then !== filters) await load(filters);
      else
        flushSync(() =>
          setPage((page) => ({ ...page, tasks: page.tasks.toSpliced(index, 0, data) })),
        );
      document.getElementById(`task-${data.id}`)?.focus();
      return `${title} is back.`;
    });
  }

  function completeAll() {
    return attempt(async () => {
      // Those of the list, not others that the filters hide.
      const query = { status, search, tag };
      const body = { completed: true };
      const { data } = await unwrap(
        api.PATCH("/api/{user_id}/tasks", { params: { ...ME, query }, body }),
      );
      await load(filters);
      return `${data.updated} tasks completed.`;
    });
  }

  function clearCompleted() {
    return attempt(async () => {
      const query = { status: "completed", search, tag } as const;
      const { data } = await unwrap(
        api.DELETE("/api/{user_id}/tasks", { params: { ...ME, query } }),
      );
      await load(filters);
      add.current!.querySelector("input")!.focus();
      return `${data.deleted} completed tasks deleted.`;
    });
  }

  return (
    <>
      <form className="card add" ref={add} onSubmit={create} noValidate>
        <Field
          label="New task"
          name="title"
          placeholder="What needs doing?"
          autoComplete="off"
          error={titleError}
          onChange={() => {
            // A different task needs a different key.
            newTaskKey.current = undefined;
            setTitleError(undefined);
          }}
        />
        <button className="primary">Add</button>
      </form>

      <div className="toolbar" role="search" aria-label="Tasks">
        <fieldset className="segments">
          <legend className="hidden">Show</legend>
          {Object.entries(STATUSES).map(([status, label]) => (
            <label key={status}>
              <input
                type="radio"
                name="status"
                checked={filters.status === status}
                onChange={() => show({ status: status as Filters["status"] })}
              />
              <span>{label}</span>
            </label>
          ))}
        </fieldset>
        <Search value={filters.search} onSearch={(search) => show({ search })} />
        <select
          aria-label="Order"
          value={filters.sort}
          onChange={(event) => show({ sort: event.target.value as Filters["sort"] })}
        >
          {Object.entries(SORTS).map(([sort, { label }]) => (
            <option key={sort} value={sort}>
              {label}
            </option>
          ))}
        </select>
      </div>

      {tag && <ShownTag tag={tag} clear={() => show({ tag: "" })} />}

      {tasks.length > 0 && (
        <ul className="card tasks" aria-label="Tasks" aria-busy={busy}>
          {tasks.map((task) => (
            <TaskItem
              key={task.id}
              api={api}
              task={task}
              attempt={attempt}
              replace={replace}
              offerUndo={offerUndo}
              showTag={(tag) => show({ tag })}
            />
          ))}
        </ul>
      )}
      {tasks.length === 0 && !failure && <Empty filters={filters} />}

      {tasks.length > 0 && (
        <footer className="list-footer">
          <span>
            {tasks.length}
            {next ? "+" : ""} {tasks.length === 1 ? "task" : "tasks"}
          </span>
          {next && <button onClick={showMore}>Show more</button>}
          <button
            className="quiet"
            onClick={completeAll}
            disabled={tasks.every((task) => task.completed) && !next}
          >
            Complete all
          </button>
          <button
            className="quiet"
            onClick={clearCompleted}
            disabled={!tasks.some((task) => task.completed) && !next}
          >
            Clear completed
          </button>
        </footer>
      )}

      {/* In view wherever the list is scrolled to. */}
      <div className="notices">
        <div role="alert" className="alert">
          {failure && (
            <>
              <span>{failure.text}</span>
              {failure.isUnverified ? (
                <VerifyButton email={email} />
              ) : (
                <button onClick={() => show({})}>Reload</button>
              )}
            </>
          )}
        </div>
        <p role="status" className="hidden">
          {news}
        </p>
        {deleted && (
          <div className="notice">
            <span>Deleted “{deleted.task.title}”</span>
            <button onClick={() => undo(deleted)}>Undo</button>
          </div>
        )}
      </div>
    </>
  );
}

/** Searches a moment after the last key. */
function Search({ value, onSearch }: { value: string; onSearch: (text: string) => void }) {
  const [text, setText] = useState(value);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  // The list clears the search when it adds a task that the search would hide.
  useEffect(() => setText(value), [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <label className="search">
      <span className="hidden">Search tasks</span>
      <SearchIcon />
      <input
        type="search"
        placeholder="Search"
        value={text}
        onChange={(event) => {
          const typed = event.target.value;
          setText(typed);
          clearTimeout(timer.current);
          timer.current = setTimeout(() => onSearch(typed), 250);
        }}
      />
    </label>
  );
}

function Empty({ filters: { status, search, tag } }: { filters: Filters }) {
  const [title, text] = search || tag
    ? [`Nothing matches “${search || tag}”`, "Try another word, or another filter."]
    : {
        all: ["Nothing to do", "Add your first task above."],
        pending: ["All done", "There is no open task left."],
        completed: ["Nothing completed yet", "Tasks that you tick appear here."],
      }[status];
  return (
    <div className="card empty">
      <svg viewBox="0 0 64 64" aria-hidden="true">
        <circle cx="32" cy="32" r="26" />
        <path d="m21 33 8 8 15-18" />
      </svg>
      <h2>{title}</h2>
      <p>{text}</p>
    </div>
  );
}
