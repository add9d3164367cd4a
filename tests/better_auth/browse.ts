// Somebody in front of Chromium: signs up at the page's address, and minds a few tasks.
import { chromium, type Page } from "playwright-core";

const [executablePath, profile, page_, email, password] = process.argv.slice(2) as string[];

const context = await chromium.launchPersistentContext(profile!, {
  executablePath: executablePath!,
  headless: true,
  chromiumSandbox: false,
  args: [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
context.setDefaultTimeout(20_000);
const page = context.pages()[0]!;
const errors: string[] = [];
page.on("pageerror", (error) => errors.push(String(error)));
page.on("console", (message) => {
  if (message.type() === "error") errors.push(message.text());
});

/** What the list shows, one line a task. */
const shown = (page: Page) =>
  page
    .getByRole("listitem")
    .evaluateAll((items) =>
      items.map((item) => `${item.querySelector("input")!.checked ? "[x]" : "[ ]"} ${item.querySelector("label")!.textContent}`),
    );

const lists: string[][] = [];
await page.goto(page_!);
await page.getByLabel("E-mail").fill(email!);
await page.getByLabel("Password").fill(password!);
await page.getByRole("button", { name: "Sign up" }).click();
await page.getByLabel("Title").fill("Buy milk");
await page.getByRole("button", { name: "Add" }).click();
await page.getByRole("checkbox").waitFor();
lists.push(await shown(page));
await page.getByRole("checkbox").click();
await page.locator("input:checked").waitFor();
lists.push(await shown(page));
await page.getByRole("button", { name: "Delete" }).click();
await page.getByRole("listitem").waitFor({ state: "detached" });
lists.push(await shown(page));

const alert = await page.getByRole("alert").first().textContent();
const cookies = (await context.cookies()).map((cookie) => cookie.name);

// A page of some other origin, whose requests the backend must not let it read.
const stranger = await context.newPage();
await stranger.goto("data:text/html,a stranger");
const read = await stranger.evaluate(
  (backend) =>
    fetch(`${backend}/health`).then(
      () => "read",
      () => "refused",
    ),
  process.env.BACKEND_URL,
);
await context.close();
console.log(JSON.stringify({ lists, alert, cookies, errors, stranger: read }));
