// For the parameter malwareScanning: Microsoft Defender for Storage scans each new blob. It writes its verdict as a tag of the
// blob. Messages are stored before they are scanned, and consumers must read the tag themselves.

param accountName string

@description('Largest amount that is scanned in a month, in GB.')
@minValue(10)
param capGBPerMonth int = 1000

resource account 'Microsoft.Storage/storageAccounts@2026-06-01' existing = {
  name: accountName
}

resource scanning 'Microsoft.Security/defenderForStorageSettings@2025-06-01' = {
  name: 'current'
  scope: account
  properties: {
    isEnabled: true
    overrideSubscriptionLevelSettings: true
    malwareScanning: {
      onUpload: {
        isEnabled: true
        capGBPerMonth: capGBPerMonth
      }
    }
    sensitiveDataDiscovery: {
      isEnabled: false
    }
  }
}
