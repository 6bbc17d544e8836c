import { OciError } from "../oci/errors.ts";
import type { AdminApi, AdminApiOptions } from "./admin.ts";
import type { Handler } from "./request.ts";
import { errorReply, type Headers } from "./reply.ts";

/** The administration's API: everything below `/_admin/`, loaded at its first request. Never rejects. */
export function createAdminHandler(options: AdminApiOptions): Handler {
  let api: Promise<AdminApi> | undefined;
  return async (request, facts) => {
    facts.endpoint = "admin";
    try {
      api ??= loadApi(options);
      return await (await api).answer(request, facts);
    } catch (error) {
      facts.error = error;
      return errorReply(error, headersOf(error));
    }
  };
}

async function loadApi(options: AdminApiOptions): Promise<AdminApi> {
  const { AdminApi: Api } = await import("./admin.ts");
  return new Api(options);
}

function headersOf(error: unknown): Headers {
  if (!(error instanceof OciError)) return {};
  return error.code === "UNAUTHORIZED" ? { "WWW-Authenticate": 'Bearer realm="entrepot"' } : {};
}
