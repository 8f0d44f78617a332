import '@xyflow/react/dist/style.css'
import '../theme/tokens.css'
import '../theme/base.css'
import '../theme/graph.css'
import '../theme/panels.css'
import '../theme/dialogs.css'
import { createRoot } from 'react-dom/client'
import { restore, startAutosave } from '../state/autosave'
import { followLanguage, loadDefinitions } from '../state/server'
import { startLive } from '../state/run'
import { startSettings } from '../state/settings'
import { App } from './App'
import { Guard } from './Guard'
import { takeEdit } from './edited'
import { askAboutPacks, takeTypes } from './packs'
import { openExample } from './files'

async function start(): Promise<void> {
  startSettings()
  await loadDefinitions()
  followLanguage()
  if (!(await restore())) openExample()
  startAutosave()
  startLive(
    (edited) => void takeEdit(edited),
    () => void takeTypes(),
  )
  createRoot(document.getElementById('root') as HTMLElement).render(
    <Guard>
      <App />
    </Guard>,
  )
  void askAboutPacks()
}

void start()
