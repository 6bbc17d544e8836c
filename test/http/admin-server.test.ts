import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { createAdministration } from "../support/administration.ts";
import { serveAdministration } from "../support/admin-server.ts";
import { createBarrier } from "../support/barrier.ts";
import { open, request } from "../support/http.ts";

const json = { "Content-Type": "application/json" };

test("a body is read to its end, up to 1 MiB; a larger one is refused with an answer", async () => {
  const fake = await createAdministration();
  await using server = await serveAdministration(fake);
  const post = (body: string) => request(`${server.address}/_admin/purge`, { method: "POST", headers: json, body });
  const padded = JSON.stringify({ target: "alpine:3", dryRun: true }).padEnd(1024 * 1024, " ");
  assert.equal((await post(padded)).status, 200);
  const refused = await post(`${padded} `);
  assert.equal(refused.status, 413);
  assert.equal(refused.headers.connection, "close");
  assert.equal(JSON.parse(refused.body.toString()).errors[0].code, "CONTENT_TOO_LARGE");
  assert.equal(fake.planned.length, 1);
});

test("who announces a body that is too large is answered before it has come whole", async () => {
  await using server = await serveAdministration(await createAdministration());
  const socket = connect(Number(new URL(server.address).port), "127.0.0.1");
  const fields = ["Host: 127.0.0.1", "Content-Type: application/json", `Content-Length: ${4 * 1024 * 1024}`];
  socket.write(`POST /_admin/purge HTTP/1.1\r\n${fields.join("\r\n")}\r\n\r\n`);
  socket.write(Buffer.alloc(1024 * 1024 + 1, " "));
  let answer = "";
  for await (const chunk of socket) answer += String(chunk);
  assert.match(answer, /^HTTP\/1\.1 413 /);
});

/** Sends a request whose body never comes to its end; resolves to all of the answer. */
async function sendHalf(address: string, onSent: () => void = () => undefined): Promise<string> {
  const socket = connect(Number(new URL(address).port), "127.0.0.1");
  const fields = ["Host: 127.0.0.1", "Content-Type: application/json", "Content-Length: 100"];
  socket.write(`POST /_admin/purge HTTP/1.1\r\n${fields.join("\r\n")}\r\n\r\n{`, () => onSent());
  let answer = "";
  for await (const chunk of socket) answer += String(chunk);
  return answer;
}

test("a body that does not come is waited for only so long", async () => {
  await using server = await serveAdministration(await createAdministration(), { bodyMs: 1 });
  const answer = await sendHalf(server.address);
  assert.match(answer, /^HTTP\/1\.1 400 .*did not come in time/s);
  assert.match(answer, /^Connection: close\r$/m);
});

test("a body that is waited for does not keep the server from draining", async () => {
  await using server = await serveAdministration(await createAdministration());
  const begun = Promise.withResolvers<void>();
  const answer = sendHalf(server.address, begun.resolve);
  await begun.promise;
  // Answered after what was sent before it: the body is being read by now.
  await request(`${server.address}/_admin/usage`);
  await server.drain(new AbortController().signal);
  assert.match(await answer, /^HTTP\/1\.1 503 .*is stopping/s);
});

test("where the administration is not served, it says how to get it", async () => {
  await using server = await serveAdministration(undefined);
  for (const path of ["/_admin/usage", "/_admin", "/_admin/"]) {
    const answer = await request(`${server.address}${path}`);
    assert.equal(answer.status, 404);
    assert.match(answer.body.toString(), /admin_listen/);
  }
  assert.ok(!(await request(`${server.address}/_administer`)).body.toString().includes("admin_listen"));
});

test("requests are logged and metered as admin's, and the log has no token", async () => {
  await using server = await serveAdministration(await createAdministration(), { token: "a-secret-token" });
  const headers = { ...json, Authorization: "Bearer a-secret-token" };
  const body = JSON.stringify({ target: "alpine:3" });
  await request(`${server.address}/_admin/purge`, { method: "POST", headers, body });
  await request(`${server.address}/_admin/usage`, { headers: { Authorization: "Bearer another-secret" } });
  const metrics = await server.metrics.render();
  assert.match(metrics, /entrepot_http_requests_total\{endpoint="admin",method="POST",status="200"\} 1/);
  assert.match(metrics, /entrepot_http_requests_total\{endpoint="admin",method="GET",status="401"\} 1/);
  const [first] = server.log().split("\n");
  assert.equal(JSON.parse(first ?? "").reference, "alpine:3");
  assert.ok(!server.log().includes("secret"));
});

test("a client that leaves a job's events does not stop the job", async () => {
  const barrier = createBarrier();
  const fake = await createAdministration({ step: () => barrier.wait() });
  await using server = await serveAdministration(fake);
  const { id } = fake.administration.start({ kind: "evict" });
  const response = await open(`${server.address}/_admin/jobs/${id}/events`);
  assert.equal(response.headers["content-type"], "application/x-ndjson");
  assert.equal(JSON.parse(String(await response.next())).state, "running");
  response.destroy();
  await server.drain(new AbortController().signal);
  assert.equal(fake.administration.job(id).state, "running");
  barrier.release();
  await fake.jobs.idle();
});
