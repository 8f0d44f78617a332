/** Where the automatic copies are kept: twice, since neither place is enough. What localStorage holds is complete when
 *  a page closes, but the browser lets seconds pass before it is on disk; what IndexedDB holds outlives the death of
 *  the browser, and may be large. */
const SLOT = 'darkroom.doc.'
const STORE = 'slots'

let opening: Promise<IDBDatabase> | null = null

function database(): Promise<IDBDatabase> {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open('darkroom', 1)
    request.onupgradeneeded = () => request.result.createObjectStore(STORE)
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error ?? new Error('no database'))
  })
  return opening
}

async function ask<Answer>(mode: IDBTransactionMode, question: (store: IDBObjectStore) => IDBRequest<Answer>): Promise<Answer> {
  const transaction = (await database()).transaction(STORE, mode)
  const request = question(transaction.objectStore(STORE))
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result)
    transaction.onabort = () => reject(transaction.error ?? new Error('refused'))
  })
}

/** Rejects if there is no room for it anywhere. */
export async function keepSlot(id: string, text: string): Promise<void> {
  let isKept = true
  try {
    localStorage.setItem(SLOT + id, text)
  } catch {
    isKept = false
  }
  await ask('readwrite', (store) => store.put(text, id)).catch((error: unknown) => {
    if (!isKept) throw error
  })
}

export function dropSlot(id: string): void {
  localStorage.removeItem(SLOT + id)
  void ask('readwrite', (store) => store.delete(id)).catch(() => undefined)
}

/** Every slot by its id, of each the newer copy; `age` tells how new one is. */
export async function readSlots(age: (text: string) => number): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  const take = (id: string, text: string): void => {
    const other = found.get(id)
    if (other === undefined || age(text) > age(other)) found.set(id, text)
  }
  try {
    for (let at = 0; at < localStorage.length; at++) {
      const key = localStorage.key(at)
      if (key?.startsWith(SLOT)) take(key.slice(SLOT.length), localStorage.getItem(key) ?? '')
    }
    const [ids, texts] = await Promise.all([ask('readonly', (store) => store.getAllKeys()), ask('readonly', (store) => store.getAll() as IDBRequest<string[]>)])
    ids.forEach((id, at) => take(String(id), texts[at] ?? ''))
  } catch {
    // private windows may have neither; what was found is what there is
  }
  return found
}
