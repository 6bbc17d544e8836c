import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { install, runWhole } from "./programs.ts";

/** What a run of the OCI's conformance suite found: the names of its tests, by how they ended. */
export interface Findings {
  readonly passed: readonly string[];
  /** Skipped, or disabled by how the suite was configured. */
  readonly skipped: readonly string[];
  /** With what the suite says of each. */
  readonly failed: readonly string[];
}

/** What is run, and with which settings. */
export interface ConformanceRun {
  /**
   * Both forms of the suite: `current` is a program, which knows what comes after version 1.1 of the specification;
   * `earlier` are the tests of versions 1.0 and 1.1.
   */
  readonly form: "current" | "earlier";
  /** The folder below `reports/conformance` where what it wrote stays: `output.txt`, `junit.xml` and `report.html`. */
  readonly name: string;
  readonly variables: Readonly<Record<string, string>>;
  /** Where the suite, once its tests have ended, breaks down over its report: no more than `output.txt` is there. */
  readonly endsWithoutReport?: boolean;
}

const reports = fileURLToPath(new URL("../../reports/conformance", import.meta.url));

/**
 * Runs the suite, which is built where that was not done before.
 *
 * @throws {Error} it ended without a result, or failed though none of its tests did.
 */
export async function runConformance(run: ConformanceRun): Promise<Findings> {
  const { form, name, variables, endsWithoutReport = false } = run;
  const programs = await install("conformance");
  const folder = join(reports, name);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const program = join(programs, form === "current" ? "conformance" : "conformance.test");
  const reportTo = form === "current" ? { OCI_RESULTS_DIR: folder } : { OCI_REPORT_DIR: folder };
  // It fails where one of its tests does; what it wrote is in the error, then.
  const ended = await runWhole([program], { ...variables, ...reportTo }).catch((error: Error) => error);
  const output = ended instanceof Error ? ended.message : ended.output;
  await writeFile(join(folder, "output.txt"), output);
  const found =
    form === "current" ? parseOutput(output) : parseReport(await readFile(join(folder, "junit.xml"), "utf8"));
  if (found.passed.length === 0 || (ended instanceof Error && found.failed.length === 0 && !endsWithoutReport)) {
    throw new Error(`the suite ended without a result\n${output}`);
  }
  return found;
}

/** Reads what the current form writes: a line for each test, and those of its parts below it, further in. */
function parseOutput(output: string): Findings {
  const lines = [
    ...output.matchAll(/^( *)OCI Conformance Test\/(.+): (Pass|Skip|Disabled|FAIL|Error)\n((?: +- .*\n)*)/gm),
  ];
  const tests = lines
    .map(([, indent = "", name = "", status = "", reasons = ""]) => ({ depth: indent.length, name, status, reasons }))
    .filter(({ depth }, index, all) => (all[index + 1]?.depth ?? 0) <= depth);
  const named = (...statuses: readonly string[]): typeof tests =>
    tests.filter(({ status }) => statuses.includes(status));
  return {
    passed: named("Pass").map(({ name }) => name),
    skipped: named("Skip", "Disabled").map(({ name }) => name),
    failed: named("FAIL", "Error").map(({ name, reasons }) => `${name}:\n${reasons}`),
  };
}

/** Reads the JUnit report of the earlier form. */
function parseReport(report: string): Findings {
  const pattern =
    /<testcase name="\[It\] OCI Distribution Conformance Tests ([^"]*)"[^>]* status="([a-z]+)"[^>]*>(.*?)<\/testcase>/gs;
  const tests = [...report.matchAll(pattern)].map(([, name = "", status = "", body = ""]) => ({ name, status, body }));
  const messageOf = (body: string): string => /<failure message="([^"]*)"/.exec(body)?.[1] ?? "";
  return {
    passed: tests.filter(({ status }) => status === "passed").map(({ name }) => name),
    skipped: tests.filter(({ status }) => status === "skipped").map(({ name }) => name),
    failed: tests
      .filter(({ status }) => status !== "passed" && status !== "skipped")
      .map(({ name, body }) => `${name}: ${messageOf(body)}`),
  };
}
