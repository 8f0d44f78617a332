/** The names of sockets as React Flow knows them. */
export const handleIn = (input: string): string => `i:${input}`
export const handleOut = (slot: number): string => `o:${slot}`
