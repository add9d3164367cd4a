// Tries every operation of the documentation (Swagger UI) in Chromium, as it is when one opens it.
// Prints, as JSON, the status of each response.
import { chromium, type Locator, type Page } from "playwright-core";

const [executablePath, address] = process.argv.slice(2) as [string, string];
const errors: string[] = [];
const results: Record<string, string> = {};
const preselected: Record<string, string> = {};

/** Click Try it out and Execute, with nothing filled in. */
async function execute(page: Page, operation: Locator): Promise<string> {
  await operation.locator(".opblock-summary-control").click();
  const tryIt = operation.getByRole("button", { name: "Try it out" });
  await tryIt.click();
  await operation.getByRole("button", { name: "Execute" }).click();
  const status = operation.locator(".live-responses-table tr.response .response-col_status").first();
  await status.waitFor();
  return (await status.innerText()).trim().split(/\s/)[0]!;
}

/** Read the token in a response, and give it to Authorize. */
async function authorize(page: Page, operation: Locator) {
  const body = await operation.locator(".live-responses-table .highlight-code").first().innerText();
  const token = /"token": "([^"]+)"/.exec(body)![1]!;
  await page.locator(".btn.authorize").first().click();
  const dialog = page.locator(".modal-ux");
  await dialog.locator("input").fill(token);
  await dialog.getByRole("button", { name: "Apply credentials" }).click();
  await dialog.getByRole("button", { name: "Close", exact: true }).last().click();
}

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 2000 } });
  page.setDefaultTimeout(15_000);
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(`${address}/docs`);
  await page.locator(".opblock").first().waitFor();
  const ids = await page
    .locator(".opblock")
    .evaluateAll((all) => all.map((each) => each.id.split("-").pop()!));
  const first = ["signup", "create_token", "create_task"];
  const last = ["delete_task", "delete_tasks", "delete_me"];
  const middle = ids.filter((id) => ![...first, ...last].includes(id));
  for (const id of [...first, ...middle, ...last]) {
    const operation = page.locator(`.opblock[id$="-${id}"]`);
    results[id] = await execute(page, operation);
    const select = operation.locator(".parameters select").first();
    if (await select.count()) preselected[id] = await select.inputValue();
    if (id === "create_token") await authorize(page, operation);
    await operation.locator(".opblock-summary-control").click();
  }
  console.log(JSON.stringify({ results, preselected, errors }));
} finally {
  await browser.close();
}
