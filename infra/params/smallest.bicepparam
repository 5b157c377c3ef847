// The smallest installation: no mailbox yet. It is what `azd up` makes first.
using '../main.bicep'

param environmentName = 'smallest'
param location = 'westeurope'
