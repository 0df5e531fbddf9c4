/** The one error of the SDK: `code` is for programs, `message` for their developers. */
export class ShelfError extends Error {
    /**
     * @param {string} code one of the codes in README.md
     * @param {string} message name, value, bound
     */
    constructor(code: string, message: string);
    code: string;
}
