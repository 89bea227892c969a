// Ponder asks for an API. Nobody asks it for anything but `/ready` and `/metrics`, which are its own.
import { Hono } from "hono";

export default new Hono();
