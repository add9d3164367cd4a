"use client";

import { CloseIcon } from "@/components/icons";
import type { Task } from "@/lib/api";
import { dayInWords, dayOf, PRIORITIES, today } from "@/lib/details";
import { useSyncExternalStore } from "react";

const never = () => () => {};

/** Return today's date where the page is read; on the server, which is elsewhere, "". */
const useToday = () => useSyncExternalStore(never, today, () => "");

type Props = { task: Task; showTag?: (tag: string) => void };

/** Priority, due date and tags of a task, as far as there is something to say. */
export function TaskDetails({ task, showTag }: Props) {
  const now = useToday();
  const due = task.due_date && dayOf(task.due_date);
  const isNotable = !["none", "medium"].includes(task.priority);
  if (!isNotable && !due && task.tags.length === 0) return null;
  const isPast = due && due < now && !task.completed;
  return (
    <div className="details">
      {isNotable && (
        <span className={`priority ${task.priority}`}>{PRIORITIES[task.priority]}</span>
      )}
      {due && (
        <time dateTime={due} className={isPast ? "due past" : "due"}>
          {isPast && "Overdue: "}
          {dayInWords(due, now)}
        </time>
      )}
      {task.tags.map((tag) =>
        showTag ? (
          <button key={tag} className="chip" aria-label={`Only ${tag}`} onClick={() => showTag(tag)}>
            {tag}
          </button>
        ) : (
          <span key={tag} className="chip">
            {tag}
          </span>
        ),
      )}
    </div>
  );
}

/** The tag that the list is narrowed to. */
export function ShownTag({ tag, clear }: { tag: string; clear: () => void }) {
  return (
    <p className="shown-tag">
      Only tasks tagged
      <button className="chip" aria-label={`${tag}: show all tags`} onClick={clear}>
        {tag} <CloseIcon />
      </button>
    </p>
  );
}
