/* Writes the generated parts of docs/: `npm run docs`. */
import { mkdirSync, writeFileSync } from "node:fs";
import { formatJsonSchema, formatReference } from "../config/reference-page.ts";

const folder = new URL("../../docs/", import.meta.url);
mkdirSync(folder, { recursive: true });
writeFileSync(new URL("configuration.md", folder), formatReference());
writeFileSync(new URL("config.schema.json", folder), formatJsonSchema());
