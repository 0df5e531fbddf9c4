/**
 * One vector for each part of the task's plan, not yet clipped; zeros from a device without history.
 * @param {Catalogue} catalogue the bundle's own, without what changed since
 * @param {History} history
 * @param {number} now µs
 * @param {Task} task
 * @param {number} block
 * @param {string} trained "taste" or "intent"
 * @param {boolean} measuresOnly a device that only says how well it was served
 * @returns {Record<string, Float64Array>}
 */
export function trainingVectors(catalogue: Catalogue, history: History, now: number, task: Task, block: number, trained: string, measuresOnly: boolean): Record<string, Float64Array>;
export type Sums = {
    catalogue: Catalogue;
    history: History;
    now: number;
    width: number;
    start: number;
    stop: number;
    rows: Float64Array;
    counts: Float64Array;
    second: Float64Array;
    first: Float64Array;
    one: Float64Array;
};
export type Catalogue = import("../catalogue.js").Catalogue;
export type History = import("../profile.js").History;
export type Task = import("./task.js").Task;
