import * as z from "zod";
import type { AdminOperation } from "./admin-operations.ts";
import { errorSchema } from "./admin-schema.ts";

type Json = Readonly<Record<string, unknown>>;

const reference = { type: "string" };

/** The predecessor's deletes: their names have slashes, which no template of OpenAPI can say. */
const predecessors: Json = Object.fromEntries(
  [
    { what: "manifests", parameter: "reference", summary: "Remove a tag or a manifest of a repository." },
    { what: "blobs", parameter: "digest", summary: "Remove a blob of a repository." },
  ].map(({ what, parameter, summary }) => [
    `/_admin/{image}/${what}/{${parameter}}`,
    {
      delete: {
        operationId: `delete_${what}`,
        summary,
        description:
          "`image` begins with a registry's name or not, as in a pull. It may have slashes, which stand in the path as they are: a client that encodes them (`%2F`), as generated ones do, is refused.",
        parameters: [
          { name: "image", in: "path", required: true, schema: reference },
          { name: parameter, in: "path", required: true, schema: reference },
          { name: "ns", in: "query", required: false, schema: reference, description: "The registry, as in a pull." },
        ],
        responses: {
          200: { description: "It was removed; no body." },
          default: { $ref: "#/components/responses/Error" },
        },
      },
    },
  ]),
);

/** The OpenAPI 3.1 document of the operations, as they are where a token is needed or not. */
export function describeApi(operations: readonly AdminOperation[], version: string, needsToken: boolean): Json {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const operation of operations) {
    const path = (paths[`/_admin${operation.path}`] ??= {});
    path[operation.method.toLowerCase()] = describeOperation(operation);
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Administration of Entrepot",
      version,
      description: "Sizes are in bytes, times in milliseconds since 1970.",
    },
    security: needsToken ? [{ token: [] }] : [],
    paths: { ...paths, ...predecessors },
    components: {
      ...(needsToken && { securitySchemes: { token: { type: "http", scheme: "bearer" } } }),
      responses: {
        Error: {
          description: "It failed, and why.",
          content: { "application/json": { schema: schemaOf(errorSchema, "output") } },
        },
      },
    },
  };
}

function describeOperation(operation: AdminOperation): Json {
  const { id, summary, query, body, answer, path } = operation;
  const parameters = [...pathParameters(path), ...(query === undefined ? [] : queryParameters(query))];
  return {
    operationId: id,
    summary,
    ...(parameters.length > 0 && { parameters }),
    ...(body !== undefined && {
      requestBody: { required: true, content: { "application/json": { schema: schemaOf(body, "input") } } },
    }),
    responses: {
      [answer.status]: {
        description: answer.description,
        ...(answer.mediaType !== undefined && {
          content: {
            [answer.mediaType]: { schema: answer.schema === undefined ? {} : schemaOf(answer.schema, "output") },
          },
        }),
      },
      default: { $ref: "#/components/responses/Error" },
    },
  };
}

function pathParameters(path: string): Json[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => {
    return { name, in: "path", required: true, schema: reference };
  });
}

function queryParameters(query: z.ZodType): Json[] {
  const { properties = {}, required = [] } = z.toJSONSchema(query, { io: "input" });
  return Object.entries(properties).map(([name, schema]) => {
    return { name, in: "query", required: required.includes(name), schema };
  });
}

function schemaOf(schema: z.ZodType, io: "input" | "output"): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io });
  return rest;
}
