"use client";

import { Field, Select } from "@/components/field";
import { DeleteIcon, EditIcon } from "@/components/icons";
import { TaskDetails } from "@/components/task-details";
import { ProblemError, unwrap, type Api, type Task } from "@/lib/api";
import { dayOf, PRIORITIES } from "@/lib/details";
import { useEffect, useRef, useState, type FormEvent, type KeyboardEvent } from "react";

type Props = {
  api: Api;
  task: Task;
  /** Runs an action and shows what went wrong. */
  attempt: (action: () => Promise<string | void>) => Promise<void>;
  /** Shows the task as it is now; null: it is gone. */
  replace: (id: number, task: Task | null, done: string) => void;
  /** Lets a deletion be undone. */
  offerUndo: (task: Task) => void;
  /** Narrows the list to the tasks with this tag. */
  showTag: (tag: string) => void;
};

type Changes = Partial<Pick<Task, "title" | "description" | "priority" | "due_date" | "tags">>;

/** A task, and the tag of this very version of it. */
type Version = { task: Task; etag: string };

export function TaskItem({ api, task, attempt, replace, offerUndo, showTag }: Props) {
  const [edited, setEdited] = useState<Version>();
  const editButton = useRef<HTMLButtonElement>(null);
  const params = { path: { user_id: "me", task_id: task.id } };

  // When the form closes, the focus goes back to the button that opened it.
  const wasEdited = useRef(false);
  useEffect(() => {
    if (wasEdited.current && !edited) editButton.current?.focus();
    wasEdited.current = edited !== undefined;
  }, [edited]);

  /** Run an action on the task; take it out of the list if it was deleted elsewhere. */
  function change(action: () => Promise<void>) {
    return attempt(async () => {
      try {
        await action();
      } catch (error) {
        if (!(error instanceof ProblemError) || error.problem.status !== 404) throw error;
        replace(task.id, null, `${task.title} was deleted elsewhere.`);
      }
    });
  }

  async function newest(): Promise<Version> {
    const { data, response } = await unwrap(
      api.GET("/api/{user_id}/tasks/{task_id}", { params }),
    );
    return { task: data, etag: response.headers.get("ETag")! };
  }

  function complete(completed: boolean) {
    return change(async () => {
      const { data } = await unwrap(
        api.PATCH("/api/{user_id}/tasks/{task_id}/complete", { params, body: { completed } }),
      );
      replace(task.id, data, `${data.title} is ${completed ? "completed" : "open again"}.`);
    });
  }

  function remove() {
    return change(async () => {
      await unwrap(api.DELETE("/api/{user_id}/tasks/{task_id}", { params }));
      offerUndo(task);
      replace(task.id, null, `Deleted ${task.title}.`);
    });
  }

  /** Save only if the task is still the version that was edited. */
  async function save(changes: Changes, etag: string) {
    const { data } = await unwrap(
      api.PATCH("/api/{user_id}/tasks/{task_id}", {
        params,
        body: changes,
        headers: { "If-Match": etag },
      }),
    );
    replace(task.id, data, `Saved ${data.title}.`);
    close();
  }

  const edit = () => change(async () => setEdited(await newest()));

  const close = () => setEdited(undefined);

  if (edited) {
    return (
      <li className="editing">
        <EditForm
          version={edited}
          attempt={change}
          newest={newest}
          save={save}
          useNewer={(newer) => {
            replace(task.id, newer, `${newer.title}, as it was changed elsewhere.`);
            close();
          }}
          cancel={close}
        />
      </li>
    );
  }

  return (
    <li className={task.completed ? "completed" : ""} onDoubleClick={edit}>
      <input
        type="checkbox"
        id={`task-${task.id}`}
        checked={task.completed}
        onChange={(event) => complete(event.target.checked)}
      />
      <div>
        <label htmlFor={`task-${task.id}`}>{task.title}</label>
        {task.description && <p>{task.description}</p>}
        <TaskDetails task={task} showTag={showTag} />
      </div>
      <button ref={editButton} className="icon-button" aria-label={`Edit ${task.title}`} onClick={edit}>
        <EditIcon />
      </button>
      <button className="icon-button" aria-label={`Delete ${task.title}`} onClick={remove}>
        <DeleteIcon />
      </button>
    </li>
  );
}

const reveal = (element: HTMLElement | null) => element?.scrollIntoView({ block: "nearest" });

type EditFormProps = {
  version: Version;
  attempt: (action: () => Promise<void>) => Promise<void>;
  newest: () => Promise<Version>;
  save: (changes: Changes, etag: string) => Promise<void>;
  useNewer: (task: Task) => void;
  cancel: () => void;
};

function EditForm({ version, attempt, newest, save, useNewer, cancel }: EditFormProps) {
  const [refusal, setRefusal] = useState<ProblemError>();
  const day = version.task.due_date ? dayOf(version.task.due_date) : "";
  /** The version that somebody else saved while this one was edited. */
  const [newer, setNewer] = useState<Version>();

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const { title, description, due, tags, priority } = Object.fromEntries(
      new FormData(form),
    ) as Record<string, string>;
    const changes: Changes = {
      title,
      description: description || null,
      priority: priority as Task["priority"],
      tags: tags!.split(","),
      // A day that was not touched keeps the time that another client may have set.
      ...(due !== day && { due_date: due || null }),
    };
    return attempt(async () => {
      try {
        await save(changes, (newer ?? version).etag);
      } catch (error) {
        if (!(error instanceof ProblemError)) throw error;
        if (error.problem.status === 412) {
          setNewer(await newest());
        } else if (error.problem.errors) {
          setRefusal(error);
          const wrong = error.problem.errors[0]!.field.replace("due_date", "due");
          (form.elements.namedItem(wrong) as HTMLElement | null)?.focus();
        } else {
          throw error;
        }
      }
    });
  }

  function cancelWithEscape(event: KeyboardEvent) {
    if (event.key === "Escape") cancel();
  }

  return (
    <form onSubmit={submit} onKeyDown={cancelWithEscape} noValidate aria-label="Edit task">
      <Field
        label="Title"
        name="title"
        defaultValue={version.task.title}
        error={refusal?.field("title")}
        autoFocus
      />
      <Field
        multiline
        label="Description"
        name="description"
        rows={2}
        defaultValue={version.task.description ?? ""}
        error={refusal?.field("description")}
      />
      <div className="row">
        <Select label="Priority" name="priority" options={PRIORITIES} value={version.task.priority} />
        <Field
          label="Due"
          name="due"
          type="date"
          max="9999-12-31"
          defaultValue={day}
          error={refusal?.field("due_date")}
        />
      </div>
      <Field
        label="Tags"
        name="tags"
        placeholder="home, errands"
        autoComplete="off"
        defaultValue={version.task.tags.join(", ")}
        error={refusal?.field("tags")}
      />
      <div role="alert">
        {newer && (
          <div className="conflict" ref={reveal}>
            <p>
              <strong>This task was changed elsewhere while you edited it.</strong> It is now:
            </p>
            <blockquote>
              {newer.task.title}
              {newer.task.description && <small>{newer.task.description}</small>}
              <TaskDetails task={newer.task} />
            </blockquote>
            <button type="button" onClick={() => useNewer(newer.task)}>
              Use the newer version
            </button>
          </div>
        )}
      </div>
      <div className="actions">
        <button className="primary">{newer ? "Save mine instead" : "Save"}</button>
        <button type="button" className="quiet" onClick={cancel}>
          Cancel
        </button>
      </div>
    </form>
  );
}
