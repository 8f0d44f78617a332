/** How pictures are shown everywhere. */
import type { SyntheticEvent } from 'react'

const SMALL = 160

/** Small pictures keep their pixels when they are enlarged. */
export const crisp = (event: SyntheticEvent<HTMLImageElement>): void => void event.currentTarget.classList.toggle('small-picture', event.currentTarget.naturalWidth < SMALL)
