import type { LocalUpkeep } from "./local-upkeep.ts";
import { type ObjectStore, type OpenObject, StoreError } from "./object-store.ts";

/** Told of each failed operation of a store. */
export type StoreFailureListener = (
  operation: "head" | "get" | "put" | "move" | "delete" | "read",
  error: StoreError,
) => void;

/** The same store, which tells `onFailure` of each `StoreError` before it is thrown. */
export function meterStore(store: ObjectStore, onFailure: StoreFailureListener): ObjectStore {
  const watch = watchFailures(onFailure);
  function watchReads(object: OpenObject): OpenObject {
    return {
      ...object,
      async *read(span) {
        try {
          yield* object.read(span);
        } catch (error) {
          if (error instanceof StoreError) onFailure("read", error);
          throw error;
        }
      },
    };
  }
  return {
    head: (key) => watch("head", store.head(key)),
    get: async (key) => {
      const object = await watch("get", store.get(key));
      return object && watchReads(object);
    },
    put: (key, source, options) => watch("put", store.put(key, source, options)),
    delete: (key, options) => watch("delete", store.delete(key, options)),
    list: (prefix, options) => store.list(prefix, options),
    close: () => store.close(),
  };
}

/** The same, for what moves objects of a folder. */
export function meterMoves(
  files: Pick<LocalUpkeep, "move" | "caretaker">,
  onFailure: StoreFailureListener,
): Pick<LocalUpkeep, "move" | "caretaker"> {
  const watch = watchFailures(onFailure);
  return { caretaker: files.caretaker, move: (from, to) => watch("move", files.move(from, to)) };
}

function watchFailures(
  onFailure: StoreFailureListener,
): <T>(operation: Parameters<StoreFailureListener>[0], result: Promise<T>) => Promise<T> {
  return async (operation, result) => {
    try {
      return await result;
    } catch (error) {
      if (error instanceof StoreError) onFailure(operation, error);
      throw error;
    }
  };
}
