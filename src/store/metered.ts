import { type ObjectStore, type OpenObject, StoreError } from "./object-store.ts";

/** Told of each failed operation of a store. */
export type StoreFailureListener = (
  operation: "head" | "get" | "put" | "move" | "delete" | "read",
  error: StoreError,
) => void;

/** The same store, which tells `onFailure` of each `StoreError` before it is thrown. */
export function meterStore(store: ObjectStore, onFailure: StoreFailureListener): ObjectStore {
  async function watch<T>(operation: Parameters<StoreFailureListener>[0], result: Promise<T>): Promise<T> {
    try {
      return await result;
    } catch (error) {
      if (error instanceof StoreError) onFailure(operation, error);
      throw error;
    }
  }
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
    move: (from, to) => watch("move", store.move(from, to)),
    delete: (key) => watch("delete", store.delete(key)),
    list: (prefix, onUnreadable) => store.list(prefix, onUnreadable),
    close: () => store.close(),
  };
}
