import cliProgress from "cli-progress";
import type { MultiBar, Options, Params, SingleBar } from "cli-progress";
import type { JobState, StepState } from "../jobs/job.ts";
import { formatBytes, formatMs } from "./quantities.ts";

/** Shows how far a job is. */
export interface ProgressView {
  show(job: JobState): void;
  /** Leaves the terminal as it was. */
  stop(): void;
}

/** A line for each step that ends, and one for each quarter of what a step has to do. */
export function createLines(write: (line: string) => void): ProgressView {
  const quarters = new Map<StepState["name"], number>();
  const ended = new Set<number>();
  return {
    show(job) {
      for (const [index, step] of job.steps.entries()) {
        if (hasEnded(step) && !ended.has(index)) {
          ended.add(index);
          write(describeStep(step));
        }
        const quarter = quarterOf(step);
        if (step.state === "running" && quarter > (quarters.get(step.name) ?? 0)) {
          quarters.set(step.name, quarter);
          write(`${step.title}: ${describeAmount(step)}\n`);
        }
      }
    },
    stop: () => undefined,
  };
}

/** A bar for each step that runs, below a line for each that has ended. */
export function createBars(screen: NodeJS.WritableStream): ProgressView {
  const running = new Map<number, SingleBar>();
  const ended = new Set<number>();
  let bars: MultiBar | undefined;
  const clear = (): void => {
    bars?.stop();
    bars = undefined;
    running.clear();
  };
  return {
    show(job) {
      const news = [...job.steps.entries()].filter(([index, step]) => hasEnded(step) && !ended.has(index));
      if (news.length > 0) {
        // Lines can only be written where no bar is.
        clear();
        for (const [index, step] of news) {
          ended.add(index);
          screen.write(describeStep(step));
        }
      }
      for (const [index, step] of job.steps.entries()) {
        if (step.state !== "running") continue;
        const { done = 0, total = 0 } = step;
        bars ??= new cliProgress.MultiBar(barOptions(screen), cliProgress.Presets.shades_classic);
        const bar = running.get(index) ?? bars.create(total, done, { step });
        running.set(index, bar);
        bar.setTotal(total);
        bar.update(done, { step });
      }
      bars?.update();
    },
    stop: clear,
  };
}

function barOptions(screen: NodeJS.WritableStream): Options {
  return { stream: screen, format: formatBar, hideCursor: true, clearOnComplete: true, gracefulExit: false };
}

function formatBar(options: Options, params: Params, payload: { readonly step: StepState }): string {
  const { step } = payload;
  if (step.total === undefined) return [step.title, describeCounts(step)].filter(Boolean).join(": ");
  const left = Number.isFinite(params.eta) ? `, ${cliProgress.Format.TimeFormat(params.eta, options, 1)} left` : "";
  return `${step.title} ${cliProgress.Format.BarFormat(params.progress, options)} ${describeAmount(step)}${left}`;
}

function hasEnded({ state }: StepState): boolean {
  return state === "done" || state === "failed" || state === "cancelled";
}

function quarterOf({ done = 0, total = 0 }: StepState): number {
  return total === 0 ? 0 : Math.min(3, Math.floor((done / total) * 4));
}

function describeAmount({ done = 0, total = 0, unit }: StepState): string {
  const percent = total === 0 ? 100 : Math.floor((done / total) * 100);
  const amount = unit === "bytes" ? `${formatBytes(done)} of ${formatBytes(total)}` : `${done} of ${total}`;
  return `${percent}% (${amount})`;
}

/** A line for a step that has ended, and one for each thing that it names. */
function describeStep(step: StepState): string {
  const time = step.durationMs === undefined ? "" : ` in ${formatMs(step.durationMs)}`;
  const counts = describeCounts(step);
  const reason = step.error === undefined ? "" : `: ${step.error}`;
  const line = `${step.title}: ${step.state}${time}${counts === "" ? "" : ` (${counts})`}${reason}`;
  return [line, ...(step.notes ?? []).map((note) => `  ${note}`), ""].join("\n");
}

function describeCounts({ counts }: StepState): string {
  return Object.entries(counts)
    .map(([what, count]) => `${what}: ${what.includes("bytes") ? formatBytes(count) : count}`)
    .join(", ");
}
