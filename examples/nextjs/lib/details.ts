// A due date is a day. It is stored as midnight in UTC and read in UTC, so that it is the same day
// in every time zone.
import type { Task } from "./api";

export const PRIORITIES: Record<Task["priority"], string> = {
  none: "None",
  low: "Low",
  medium: "Medium",
  high: "High",
  urgent: "Urgent",
};

/** Return the day of a due date, such as 2026-12-31. */
export const dayOf = (dueDate: string) => dueDate.slice(0, 10);

/** Return today's date where this runs. */
export const today = () => new Date().toLocaleDateString("sv");

/** Return a day as people write it, with the year unless it is this one. */
export function dayInWords(day: string, now: string): string {
  if (day === now) return "Today";
  return new Date(day).toLocaleDateString("en-GB", {
    timeZone: "UTC",
    day: "numeric",
    month: "short",
    year: day.slice(0, 4) === now.slice(0, 4) ? undefined : "numeric",
  });
}
