import type { TestContext } from "node:test";

/** Sets variables of the environment for the time of a test; `undefined` removes one. */
export function setEnvironment(context: TestContext, variables: Readonly<Record<string, string | undefined>>): void {
  const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  const set = (name: string, value: string | undefined): void => {
    if (value === undefined) {
      delete process.env[name];
    } else {
      process.env[name] = value;
    }
  };
  for (const [name, value] of Object.entries(variables)) {
    set(name, value);
  }
  context.after(() => before.forEach(([name, value]) => set(name, value)));
}
