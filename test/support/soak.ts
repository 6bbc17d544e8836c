/** Whether a run takes as long as it takes to see what is rare (`npm run soak`), and not as short as on every change. */
export const soaks: boolean = process.env["SOAK"] !== undefined;
