const PATHS = {
  plus: 'M8 3v10M3 8h10',
  close: 'M4 4l8 8M12 4l-8 8',
  again: 'M13 3v3.5H9.5M12.8 6.3A5.2 5.2 0 103 9.2',
  copy: 'M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3',
  list: 'M3 4h10M3 8h10M3 12h10',
  undo: 'M5 4L2.5 6.5 5 9M3 6.5h6.5a3.5 3.5 0 010 7H7',
  redo: 'M11 4l2.5 2.5L11 9M13 6.5H6.5a3.5 3.5 0 000 7H9',
  play: 'M5 3.2v9.6l7.5-4.8z',
  pause: 'M5.5 3.5v9M10.5 3.5v9',
  brush: 'M13.5 2.5L7.5 9.5M5 9.5c1.6 0 2.5 1 2.5 2.2 0 1.6-1.4 2.3-3 2.3H2c1-.6 1-1.3 1-2.2 0-1.4.8-2.3 2-2.3z',
  warn: 'M8 2.5l6 10.5H2zM8 6.5v3.2M8 11.4h.01',
  stop: 'M4.5 4.5h7v7h-7z',
  side: 'M2.5 3.5h11v9h-11zM10 3.5v9',
  gear: 'M8 5.8a2.2 2.2 0 100 4.4 2.2 2.2 0 000-4.4zM8 2v1.6M8 12.4V14M2 8h1.6M12.4 8H14M3.8 3.8l1.1 1.1M11.1 11.1l1.1 1.1M12.2 3.8l-1.1 1.1M4.9 11.1l-1.1 1.1',
  keys: 'M1.5 4.5h13v7h-13zM4 7h.01M6.5 7h.01M9 7h.01M11.5 7h.01M5 9.3h6',
  fit: 'M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10',
  minus: 'M3 8h10',
  down: 'M3.5 6l4.5 4.5L12.5 6',
  up: 'M3.5 10L8 5.5l4.5 4.5',
  top: 'M3 3h10M4 11l4-4 4 4',
  folder: 'M2 12.5v-9h4l1.5 2H14v7z',
  expand: 'M9.5 2.5h4v4M6.5 13.5h-4v-4M13.5 2.5l-4.5 4.5M2.5 13.5L7 9',
  dice: 'M3 3h10v10H3zM5.8 5.8h.01M10.2 5.8h.01M8 8h.01M5.8 10.2h.01M10.2 10.2h.01',
  download: 'M8 2.5v8M4.5 7L8 10.5 11.5 7M3 13.5h10',
  left: 'M10 3.5L5.5 8l4.5 4.5',
  right: 'M6 3.5L10.5 8 6 12.5',
  image: 'M2.5 3h11v10h-11zM2.5 11l3.2-3.2 2.6 2.6 2-2 3.2 3.2M10.5 6h.01',
} as const

export type IconName = keyof typeof PATHS

export function Icon({ name, className = 'icon' }: { name: IconName; className?: string }) {
  return (
    <svg className={className} viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  )
}
