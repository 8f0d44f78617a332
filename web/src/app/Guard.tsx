import { Component, type ReactNode } from 'react'
import { t } from '../i18n'
import { saveSlots } from '../state/autosave'

/** Should drawing fail, the work is put away safely and a way on is shown, not an empty page. */
export class Guard extends Component<{ children: ReactNode }, { failed: boolean }> {
  override state = { failed: false }

  static getDerivedStateFromError(): { failed: boolean } {
    return { failed: true }
  }

  override componentDidCatch(): void {
    saveSlots()
  }

  override render(): ReactNode {
    if (!this.state.failed) return this.props.children
    return (
      <div className="calm" role="alert" style={{ height: '100%' }}>
        <b>{t('app.broken')}</b>
        <button type="button" className="button primary" onClick={() => location.reload()}>
          {t('app.reload')}
        </button>
      </div>
    )
  }
}
