/** What all targets of the administration begin with. */
export const adminRoot = "/_admin";

/** Whether a request's target belongs to the administration. */
export function isAdminTarget(target: string): boolean {
  return target === adminRoot || target.startsWith(`${adminRoot}/`) || target.startsWith(`${adminRoot}?`);
}
