// The compiler checks requests by their types, which are not `any`.
import createClient from "openapi-fetch";
import type { components, paths } from "../../examples/nextjs/lib/schema";

export async function check(task: components["schemas"]["TaskPublic"]) {
  const client = createClient<paths>();
  const params = { path: { user_id: "me", task_id: task.id } };
  await client.PUT("/api/{user_id}/tasks/{task_id}", { params, body: { title: "Buy milk" } });
  await client.PATCH("/api/{user_id}/tasks/{task_id}/complete", { params });
  const created = await client.POST("/api/{user_id}/tasks", {
    params,
    body: { title: "Buy milk", description: "Two litres" },
  });
  // @ts-expect-error - a task has a title
  await client.POST("/api/{user_id}/tasks", { params, body: {} });
  // @ts-expect-error - and its completed is a boolean
  await client.PATCH("/api/{user_id}/tasks/{task_id}", { params, body: { completed: "yes" } });
  // @ts-expect-error - and no owner's name
  task.owner;
  return created.error?.errors?.map(({ field }) => field);
}
