// VitePress' own theme; tables and diagrams get the room that they need.

import DefaultTheme from 'vitepress/theme'
import './style.css'

export default DefaultTheme
