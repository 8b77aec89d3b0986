/** The part of Node's module that is used here. The runtime has it with `nodejs_compat`; its types do not. */
declare module "node:async_hooks" {
  export class AsyncLocalStorage<Store> {
    run<Result>(store: Store, work: () => Result): Result;
    getStore(): Store | undefined;
  }
}
