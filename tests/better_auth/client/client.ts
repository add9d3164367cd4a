// Calls every operation on tasks with the types that openapi-typescript generates.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

const [baseUrl, token] = process.argv.slice(2) as [string, string];
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });

const me = await client.GET("/api/auth/me");
if (me.error) throw new Error(me.error.detail);
const path = { user_id: String(me.data.id) };

const made = await client.POST("/api/{user_id}/tasks", {
  params: { path },
  body: { title: "Buy milk", description: "Two litres" },
});
if (made.error) throw new Error(made.error.detail);
const task: components["schemas"]["TaskPublic"] = made.data;
const one = { path: { ...path, task_id: task.id } };

const listed = await client.GET("/api/{user_id}/tasks", { params: { path } });
const replaced = await client.PUT("/api/{user_id}/tasks/{task_id}", {
  params: one,
  body: { title: "Buy oat milk" },
});
const updated = await client.PATCH("/api/{user_id}/tasks/{task_id}", {
  params: one,
  body: { description: "The cold kind" },
});
const completed = await client.PATCH("/api/{user_id}/tasks/{task_id}/complete", {
  params: one,
  body: { completed: true },
});
const turned = await client.PATCH("/api/{user_id}/tasks/{task_id}/complete", { params: one });
const refused = await client.POST("/api/{user_id}/tasks", { params: { path }, body: { title: "" } });
const removed = await client.DELETE("/api/{user_id}/tasks/{task_id}", { params: one });
const missed = await client.GET("/api/{user_id}/tasks/{task_id}", { params: one });

// Fields are typed, not `any`: the compiler refuses these.
() => {
  // @ts-expect-error - a task has a title
  client.POST("/api/{user_id}/tasks", { params: { path }, body: {} });
  // @ts-expect-error - and its completed is a boolean
  client.PATCH("/api/{user_id}/tasks/{task_id}", { params: one, body: { completed: "yes" } });
  // @ts-expect-error - and no owner's name
  task.owner;
};

console.log(
  JSON.stringify({
    listed: listed.data?.map(({ title }) => title),
    replaced: replaced.data?.description,
    updated: updated.data?.description,
    completed: completed.data?.completed,
    turned: turned.data?.completed,
    refused: refused.error?.errors?.map(({ field }) => field),
    removed: removed.response.status,
    missed: missed.error?.status,
  }),
);
