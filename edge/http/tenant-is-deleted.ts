import { AppError } from "../../shared/errors.ts";

/** The answer while a tenant is being deleted, and after it until an administrator creates it anew. */
export function tenantIsDeleted(): AppError {
  return new AppError(
    "tenant_deleted",
    "This tenant was deleted. POST /scale/tenants creates it anew, as soon as nothing is left of it and GET answers 404.",
  );
}
